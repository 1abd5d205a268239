//! What is outside of the cluster: databases and an object store.

use std::path::Path;

use coffer_test_support::data;
use coffer_test_support::mysql::{MysqlOptions, MysqlServer, PASSWORD};
use coffer_test_support::proxy::{Fault, Proxy};
use coffer_test_support::restic::Restic;
use coffer_test_support::stores::{BUCKET, S3};

use crate::world::World;

pub const REPOSITORY_PASSWORD: &str = "correct-horse-battery-staple";
pub const REPOSITORY: &str = "s3-shop-repo";
pub const CONFIGURATION: &str = "shop-backup";
pub const SESSION: &str = "frequent-backup";
/// Where the storage's prefix and the repository's directory put everything.
pub const PLACE: &str = "cluster/shop";

/// A database server, its copy and an object store.
pub struct Outside {
    pub shop: MysqlServer,
    pub restored: MysqlServer,
    pub s3: S3,
    /// The way to the database that is backed up.
    pub way: Proxy,
}

impl Outside {
    pub fn start(megabytes: u64) -> Self {
        let start = || MysqlServer::start(MysqlOptions::default()).unwrap();
        let shop = start();
        data::sample(&shop, "shop", megabytes).unwrap();
        let way = Proxy::start(shop.port(), Fault::None).unwrap();
        Self { shop, way, restored: start(), s3: S3::start().unwrap() }
    }

    pub fn object(&self, key: &str) -> Option<String> {
        self.s3.object(key).unwrap().map(|bytes| String::from_utf8(bytes).unwrap())
    }

    pub fn restic(&self) -> Restic {
        self.restic_at(PLACE)
    }

    /// Stock restic with the repository of the session in a directory.
    pub fn restic_at(&self, place: &str) -> Restic {
        let place = self.s3.restic_repository(&format!("{place}/repository/v1/{SESSION}/dump"));
        Restic::new(place, REPOSITORY_PASSWORD)
            .unwrap()
            .env("AWS_ACCESS_KEY_ID", S3::ACCESS_KEY)
            .env("AWS_SECRET_ACCESS_KEY", S3::SECRET_KEY)
    }

    /// Applies a file of the guide.
    pub async fn apply(&self, world: &World, file: &str) {
        world.apply_yaml(&self.manifest(file)).await;
    }

    /// A file of the guide, for these servers.
    pub fn manifest(&self, file: &str) -> String {
        let port = self.way.port().to_string();
        let restored = self.restored.port().to_string();
        let endpoint = self.s3.endpoint();
        let values = [
            ("ACCESS_KEY", S3::ACCESS_KEY),
            ("SECRET_KEY", S3::SECRET_KEY),
            ("REPOSITORY_PASSWORD", REPOSITORY_PASSWORD),
            ("DATABASE_PASSWORD", PASSWORD),
            ("PORT", &port),
            ("RESTORED_PORT", &restored),
            ("ENDPOINT", &endpoint),
            ("BUCKET", BUCKET),
            ("SCHEDULE", "* * * * *"),
        ];
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cluster/guide").join(file);
        let mut text = std::fs::read_to_string(path).unwrap();
        for (name, value) in values {
            text = text.replace(&format!("@{name}@"), value);
        }
        assert!(!text.contains('@'), "{file} has a place that nothing was put in:\n{text}");
        text
    }
}
