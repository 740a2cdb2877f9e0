//! What a store answers once a failed sync has closed it to writes.

use std::sync::Arc;

use cairn_kv::Store;
use cairn_log::vfs::simulated::SimulatedDisk;
use cairn_sdk::bridge::Bridge;
use cairn_sdk::{Cairn, Code, Embedded, Expect, UploadTerms};

/// A bucket that there is none of is no way around: a delete that changes nothing, and a condition
/// that fails, are refused as any write is.
#[test]
fn law_4_a_poisoned_store_answers_no_write_to_a_bucket_that_is_not_there() {
    let disk = SimulatedDisk::new(0);
    let store = Store::options().open_on(Arc::new(disk.clone()), "/store");
    let store = store.unwrap();
    let bucket = store.bucket("there").unwrap();
    let embedded = Embedded::new(store.clone(), Bridge::default(), true);
    let cairn = Cairn::embedded(embedded.clone());
    let upload = || {
        let expects = vec![Expect::Exists];
        let terms = UploadTerms {
            expects,
            ..UploadTerms::default()
        };
        embedded.upload("missing", b"k", terms)
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    runtime.block_on(async {
        let missing = cairn.bucket("missing");
        assert!(!missing.delete("k").await.unwrap().existed);
        let refused = upload().await.err().unwrap();
        assert_eq!(*refused.code(), Code::VersionMismatch);

        disk.fail_sync(disk.counts().syncs + 1);
        bucket.put("k", "v").unwrap_err();
        assert!(store.status().partitions[0].poisoned);
        let refused = [
            missing.delete("k").await.unwrap_err(),
            missing.put("k", "v").if_version(7).await.unwrap_err(),
            missing.put("k", "v").await.unwrap_err(),
            missing.batch().delete("k").commit().await.unwrap_err(),
            upload().await.err().unwrap(),
        ];
        for error in refused {
            assert_eq!(*error.code(), Code::Poisoned, "{error}");
        }
    });
}
