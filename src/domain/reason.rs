//! The closed, ordered list of reasons.

/// Why an answer is what it is. The order is the order of the checks: a deny names the first that
/// failed, a permit the first that holds. Codes are stable; policies name them in `@reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The path or the question cannot be read without guessing.
    MalformedRequest,
    /// No endpoint of the catalogue answers this.
    NoRoute,
    /// The caller's credential is missing, wrong or expired.
    Unauthenticated,
    /// Nobody of this name or id.
    UnknownUser,
    /// The person is deactivated or deleted.
    Deactivated,
    /// The person is locked until an administrator unlocks.
    Locked,
    /// The person may not come in through this channel.
    WrongAccessMethod,
    /// The 90-day rule for dashboard-only people.
    PasswordExpired,
    /// The action needs an account and none was named or granted.
    AccountRequired,
    /// The account, or the person acted on, is outside the principal's accounts.
    AccountNotGranted,
    /// The endpoint is for the operator of the platform alone.
    OperatorOnly,
    /// No role of the catalogue covers the endpoint.
    NotCovered,
    /// Only an Account Admin may.
    AdminRequired,
    /// Only on one's own profile.
    NotOwnProfile,
    /// A custom forbid said no; `policies` names it.
    Forbidden,
    /// A policy could not be evaluated; nobody is let in on an error.
    PolicyError,
    /// A role is missing.
    RoleMissing,
    /// The role is there, the account's product is not.
    ProductInactive,
    /// Permit: by administration level.
    AdministrationLevel,
    /// Permit: the person's own profile.
    OwnProfile,
    /// Permit: by a role.
    Role,
    /// Permit: one of the default GET endpoints.
    DefaultGet,
    /// Permit: entering the dashboard.
    SignIn,
    /// Permit: open to everybody.
    Public,
    /// Permit: by a policy that names no other reason.
    Policy,
}

impl Reason {
    /// Every reason, denies first, in the order of the checks.
    pub const ALL: [Self; 25] = [
        Self::MalformedRequest,
        Self::NoRoute,
        Self::Unauthenticated,
        Self::UnknownUser,
        Self::Deactivated,
        Self::Locked,
        Self::WrongAccessMethod,
        Self::PasswordExpired,
        Self::AccountRequired,
        Self::AccountNotGranted,
        Self::OperatorOnly,
        Self::NotCovered,
        Self::AdminRequired,
        Self::NotOwnProfile,
        Self::Forbidden,
        Self::PolicyError,
        Self::RoleMissing,
        Self::ProductInactive,
        Self::AdministrationLevel,
        Self::OwnProfile,
        Self::Role,
        Self::DefaultGet,
        Self::SignIn,
        Self::Public,
        Self::Policy,
    ];

    /// The stable code, as on the wire and in `@reason`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed-request",
            Self::NoRoute => "no-route",
            Self::Unauthenticated => "unauthenticated",
            Self::UnknownUser => "unknown-user",
            Self::Deactivated => "deactivated",
            Self::Locked => "locked",
            Self::WrongAccessMethod => "wrong-access-method",
            Self::PasswordExpired => "password-expired",
            Self::AccountRequired => "account-required",
            Self::AccountNotGranted => "account-not-granted",
            Self::OperatorOnly => "operator-only",
            Self::NotCovered => "not-covered",
            Self::AdminRequired => "admin-required",
            Self::NotOwnProfile => "not-own-profile",
            Self::Forbidden => "forbidden",
            Self::PolicyError => "policy-error",
            Self::RoleMissing => "role-missing",
            Self::ProductInactive => "product-inactive",
            Self::AdministrationLevel => "administration-level",
            Self::OwnProfile => "own-profile",
            Self::Role => "role",
            Self::DefaultGet => "default-get",
            Self::SignIn => "sign-in",
            Self::Public => "public",
            Self::Policy => "policy",
        }
    }

    /// Reads a code as [`Self::code`] writes it.
    pub fn parse(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Whether this reason belongs to a permit.
    pub const fn permits(self) -> bool {
        matches!(
            self,
            Self::AdministrationLevel
                | Self::OwnProfile
                | Self::Role
                | Self::DefaultGet
                | Self::SignIn
                | Self::Public
                | Self::Policy
        )
    }
}
