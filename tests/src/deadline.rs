//! Deadlines that fail loudly.

use std::time::Duration;

/// Runs a future that must be over soon.
///
/// # Panics
/// It is not over within 20 seconds.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(20), what).await {
        Ok(value) => value,
        Err(_) => panic!("not over within 20 s"),
    }
}
