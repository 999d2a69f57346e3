// SPDX-License-Identifier: Apache-2.0
//! What all clients of Amazon's services share: TLS, times, credentials and region by the SDK's usual chain. Knows no service.

use std::error::Error;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

const CONNECT: Duration = Duration::from_secs(5);

/// For a client in this region, else in the one that the environment or the profile names. An answer may take as long as `answer` to
/// begin. The SDK repeats no request: whoever makes them knows better which.
pub async fn configuration(region: Option<String>, answer: Duration) -> SdkConfig {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).read_timeout(answer).build();
    let mut shared = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts);
    if let Some(region) = region {
        shared = shared.region(Region::new(region));
    }
    shared.load().await
}

/// An error and its causes, in one line: the SDK's own errors tell only the outermost.
#[must_use]
pub fn reasons(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| Error::source(*error));
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Is it for want of credentials, the chain of which came to its end? The SDK says so in words only.
#[must_use]
pub fn no_credentials(reasons: &str) -> bool {
    reasons.contains("no providers in chain") || reasons.contains("not provided credentials")
}

const ELSEWHERE: &str = "it is in another region: say in which (?region=…)";

/// What to do about it where one of Amazon's services has answered with this code, if that is not what its own message says: each has
/// codes of its own.
fn advice(status: u16, code: &str, message: &str) -> Option<&'static str> {
    match code {
        "PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" => Some(ELSEWHERE),
        // An answer to a HEAD request has no body to say more.
        "" if matches!(status, 301 | 307) => Some(ELSEWHERE),
        "" if matches!(status, 401 | 403) => Some("the credentials for AWS are wrong, or do not allow it"),
        "RequestTimeTooSkewed" | "RequestExpired" => Some("this machine's clock is wrong"),
        "InvalidSignatureException" | "SignatureDoesNotMatch"
            if message.starts_with("Signature expired")
                || message.starts_with("Signature not yet current") =>
        {
            Some("this machine's clock is wrong")
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            Some("the credentials for AWS have expired")
        }
        "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "InvalidToken"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Some("the credentials for AWS are wrong"),
        _ => None,
    }
}

/// An answer of one of Amazon's services that is an error, in one line.
#[must_use]
pub fn answer(status: u16, code: &str, message: Option<&str>) -> String {
    let said = match code {
        "" => format!("HTTP {status}"),
        code => format!("HTTP {status}, {code}: {}", message.unwrap_or("no more is said")),
    };
    match advice(status, code, message.unwrap_or_default()) {
        Some(advice) => format!("{advice} ({said})"),
        None => said,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_without_words_says_what_to_do() {
        let said = [301, 403, 404].map(|status| answer(status, "", None));
        assert!(said[0].contains("?region=") && said[0].contains("HTTP 301"), "{said:?}");
        assert!(said[1].contains("credentials"), "{said:?}");
        assert_eq!(said[2], "HTTP 404");
        let redirected = answer(301, "PermanentRedirect", Some("use another endpoint"));
        assert!(redirected.contains("?region=") && redirected.contains("another endpoint"), "{redirected}");
    }
}
