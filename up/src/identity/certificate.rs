//! CAs, and the certificates that they sign.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::IdentityError;

/// How long before `now` certificates start, for clients whose clocks are behind; kubeadm's value.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// The validity period of a certificate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Validity {
    from: OffsetDateTime,
    until: OffsetDateTime,
}

impl Validity {
    /// From [`CLOCK_SKEW`] before `now` until `length` after it.
    pub(super) fn new(now: Timestamp, length: Duration) -> Result<Self, IdentityError> {
        let error = || IdentityError::Time { now };
        let second = OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|_| error())?;
        let add = |time: OffsetDateTime| time.checked_add(time::Duration::try_from(length).ok()?);
        let from = second.checked_sub(time::Duration::try_from(CLOCK_SKEW).map_err(|_| error())?);
        Ok(Self {
            from: from.ok_or_else(error)?,
            until: add(second).ok_or_else(error)?,
        })
    }
}

/// Extended key usage (RFC 5280, section 4.2.1.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Usage {
    Client,
    Server,
    /// etcd's servers are each other's clients.
    Both,
}

/// A certificate to be signed.
pub(super) struct Leaf<'a> {
    /// The common name; Kubernetes takes it as the user.
    pub(super) name: &'a str,
    /// The organisation; Kubernetes takes it as the user's group.
    pub(super) group: Option<&'a str>,
    pub(super) usage: Usage,
    /// DNS names and IP addresses.
    pub(super) alt_names: Vec<String>,
    pub(super) validity: Validity,
}

impl<'a> Leaf<'a> {
    /// A certificate without group and alternative names.
    pub(super) fn new(name: &'a str, usage: Usage, validity: Validity) -> Self {
        Self {
            name,
            group: None,
            usage,
            alt_names: Vec::new(),
            validity,
        }
    }
}

/// A certificate and its private key, as PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// A self-signed certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    /// Creates a CA with the common name `name`.
    pub(super) fn new(name: &str, validity: Validity) -> Result<Self, IdentityError> {
        let mut params = params(name, None, validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
        let issuer = CertifiedIssuer::self_signed(params, new_key(name)?);
        Ok(Self(issuer.map_err(|source| IdentityError::Certificate {
            subject: name.to_owned(),
            source,
        })?))
    }

    /// Creates a key and signs a certificate for it.
    pub(super) fn sign(&self, leaf: &Leaf<'_>) -> Result<Pair, IdentityError> {
        let mut params = params(leaf.name, leaf.group, leaf.validity);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match leaf.usage {
            Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Usage::Both => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
        };
        params.subject_alt_names = leaf
            .alt_names
            .iter()
            .map(|name| alt_name(name))
            .collect::<Result<_, _>>()?;
        let key = new_key(leaf.name)?;
        let certificate = params
            .signed_by(&key, &self.0)
            .map_err(|source| IdentityError::Certificate {
                subject: leaf.name.to_owned(),
                source,
            })?;
        Ok(Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    /// The CA's own certificate, as PEM.
    pub(super) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// The CA's own certificate and key.
    pub(super) fn pair(&self) -> Pair {
        Pair {
            certificate: self.certificate(),
            key: self.0.key().serialize_pem(),
        }
    }
}

/// A new ECDSA P-256 key. The error names `subject`.
pub(super) fn new_key(subject: &str) -> Result<KeyPair, IdentityError> {
    KeyPair::generate().map_err(|source| IdentityError::Certificate {
        subject: subject.to_owned(),
        source,
    })
}

/// Parameters common to all certificates. Without a serial number, rcgen derives one from the key, which is as random.
fn params(name: &str, group: Option<&str>, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = validity.from;
    params.not_after = validity.until;
    params.distinguished_name = DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn alt_name(name: &str) -> Result<SanType, IdentityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let error = |source| IdentityError::AltName {
        name: name.to_owned(),
        source,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._*".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(allowed) {
        return Err(error(None));
    }
    Ok(SanType::DnsName(
        name.try_into().map_err(|source| error(Some(source)))?,
    ))
}
