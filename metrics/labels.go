package metrics

import "crypto/tls"

// Values of the label "reason" of [Metrics.InboundRefused].
const (
	// OverLimit: the greatest number of simultaneous connections was reached.
	OverLimit = "limit"
	// OverAddressLimit: one client address had its share of connections open.
	OverAddressLimit = "address_limit"
	// OverNetworkLimit: one network had its share of connections open.
	OverNetworkLimit = "network_limit"
)

// Values of the label "reason" of [Metrics.Refused].
const (
	// RefusedRelay: the client may not relay to this recipient.
	RefusedRelay = "relay_denied"
	// RefusedGateway: the client would have been trusted by its network, but it
	// comes from the gateway of our container, behind which anybody can be.
	RefusedGateway = "gateway"
	// RefusedSyntax: a command or its parameters could not be parsed.
	RefusedSyntax = "syntax"
	// RefusedSequence: a command came out of order.
	RefusedSequence = "sequence"
	// RefusedSize: the message is, or was declared, larger than the limit.
	RefusedSize = "size"
	// RefusedSender: the reverse-path is not acceptable.
	RefusedSender = "sender"
	// RefusedRecipient: the recipient is not acceptable for another reason
	// than relaying, for example because its domain takes no mail.
	RefusedRecipient = "recipient"
	// RefusedContent: the message's content is not acceptable.
	RefusedContent = "content"
	// RefusedLoop: the message has passed too many hosts.
	RefusedLoop = "loop"
	// RefusedStorage: there was no room, or the store failed.
	RefusedStorage = "storage"
	// RefusedLimit: a limit on rate or number was reached.
	RefusedLimit = "limit"
	// RefusedProtocol: the client broke the protocol, for example by sending a
	// bare line feed or by speaking HTTP.
	RefusedProtocol = "protocol"
	// RefusedAuth: the client did not log in where it must, or failed to.
	RefusedAuth = "auth"
	// RefusedOther: any other reason.
	RefusedOther = "other"
)

// Values of the label "mechanism" of [Metrics.Auth] are the names of the
// mechanisms, and [AuthOther] for one that was not on offer.
const AuthOther = "other"

// Values of the label "result" of [Metrics.Auth].
const (
	// AuthOK: the client has logged in.
	AuthOK = "ok"
	// AuthFailed: the name or the password is wrong, or the client may not act
	// as the user it named.
	AuthFailed = "failed"
	// AuthRefused: nothing was checked, because the mechanism was not on offer
	// or there were too many failures before.
	AuthRefused = "refused"
	// AuthMalformed: the client's response is not of its mechanism.
	AuthMalformed = "malformed"
)

// Values of the label "result" of [Metrics.DKIMSignatures].
const (
	// DKIMRSA and DKIMEd25519: a signature was made, of this algorithm.
	DKIMRSA     = "rsa"
	DKIMEd25519 = "ed25519"
	// DKIMNoKey: the message was to be signed, and no key is for its author's
	// domain.
	DKIMNoKey = "no_key"
	// DKIMUnpublished: none of the keys has its record.
	DKIMUnpublished = "unpublished"
)

// Values of the label "source" of [Metrics.Verifications].
const (
	// VerifiedRemembered: the answer was remembered.
	VerifiedRemembered = "remembered"
	// VerifiedAsked: the next hop was asked.
	VerifiedAsked = "asked"
)

// Values of the label "result" of [Metrics.Verifications].
const (
	// VerifiedExists: the next hop takes mail for the recipient.
	VerifiedExists = "exists"
	// VerifiedMissing: it does not.
	VerifiedMissing = "missing"
	// VerifiedUnknown: there was no answer in time.
	VerifiedUnknown = "unknown"
)

// Values of the label "kind" of [Metrics.Reports].
const (
	// ReportFailure: a report that a recipient failed or expired.
	ReportFailure = "failure"
	// ReportDelay: a report that a recipient is delayed.
	ReportDelay = "delay"
	// ReportSuccess: a report of delivery or relaying that the sender asked for.
	ReportSuccess = "success"
)

// Values of the label "outcome" of [Metrics.Attempts].
const (
	// AttemptSent: the host took the message for at least one recipient.
	AttemptSent = "sent"
	// AttemptDeferred: no recipient was taken, and at least one may be retried.
	AttemptDeferred = "deferred"
	// AttemptBounced: every recipient was refused for good.
	AttemptBounced = "bounced"
	// AttemptUnreachable: no host of the destination could be reached.
	AttemptUnreachable = "unreachable"
)

// Values of the label "limit" of [Metrics.PaceWaits].
const (
	// PaceConnections: as many attempts run at the site as its window has.
	PaceConnections = "connections"
	// PaceRate: what may be sent within a time was sent.
	PaceRate = "rate"
	// PaceRest: the site refuses us and is left alone for a while.
	PaceRest = "rest"
)

// Values of the label "direction" of [Metrics.TLSHandshakes].
const (
	// DirectionIn: a client's handshake with us.
	DirectionIn = "in"
	// DirectionOut: our handshake with a next hop.
	DirectionOut = "out"
)

// Values of the label "version" of [Metrics.TLSHandshakes].
const (
	// TLS12: the handshake ended in TLS 1.2.
	TLS12 = "1.2"
	// TLS13: the handshake ended in TLS 1.3.
	TLS13 = "1.3"
	// TLSFailed: the handshake did not end in a session.
	TLSFailed = "failed"
	// TLSOther: the handshake ended in any other version.
	TLSOther = "other"
)

// Values of the label "policy" of [Metrics.TLSPolicies].
const (
	// PolicyDANE: the host has TLSA records (RFC 7672), or the route wants some.
	PolicyDANE = "dane"
	// PolicySTS: the domain has an MTA-STS policy (RFC 8461).
	PolicySTS = "mta_sts"
)

// Values of the label "result" of [Metrics.TLSPolicies].
const (
	// PolicyOK: the host is as the policy says.
	PolicyOK = "ok"
	// PolicyFailed: it is not, and was not used.
	PolicyFailed = "failed"
	// PolicyTested: it is not, and was used, as the policy is only being tested.
	PolicyTested = "tested"
	// PolicyUnusable: there is a policy, and none that the host can be verified by.
	PolicyUnusable = "unusable"
	// PolicyUnknown: the policy could not be found out.
	PolicyUnknown = "unknown"
)

// Values of the label "result" of [Metrics.STSFetches].
const (
	// FetchOK: the policy was fetched.
	FetchOK = "ok"
	// FetchFailed: it was not, or it cannot be understood.
	FetchFailed = "failed"
)

// Values of the label "type" of [Metrics.DNSQueries]; see [DNSType].
const (
	DNSTypeMX    = "MX"    // hosts that take a domain's mail
	DNSTypeA     = "A"     // IPv4 addresses
	DNSTypeAAAA  = "AAAA"  // IPv6 addresses
	DNSTypeCNAME = "CNAME" // aliases
	DNSTypeTLSA  = "TLSA"  // certificate associations
	DNSTypeTXT   = "TXT"   // policies
	DNSTypeOther = "other" // any other type
)

// Values of the label "result" of [Metrics.DNSQueries].
const (
	// DNSOK: the answer held records of the wanted type.
	DNSOK = "ok"
	// DNSNXDomain: the name does not exist.
	DNSNXDomain = "nxdomain"
	// DNSNoData: the name exists and has no record of the wanted type.
	DNSNoData = "nodata"
	// DNSServFail: the server said that it could not find out.
	DNSServFail = "servfail"
	// DNSTimeout: no server answered in time.
	DNSTimeout = "timeout"
	// DNSError: any other failure.
	DNSError = "error"
)

func inboundReasons() []string { return []string{OverLimit, OverAddressLimit, OverNetworkLimit} }

func refusals() []string {
	return []string{
		RefusedRelay, RefusedGateway, RefusedSyntax, RefusedSequence, RefusedSize, RefusedSender, RefusedRecipient,
		RefusedContent, RefusedLoop, RefusedStorage, RefusedLimit, RefusedProtocol, RefusedAuth, RefusedOther,
	}
}

func reportKinds() []string { return []string{ReportFailure, ReportDelay, ReportSuccess} }

func paceLimits() []string { return []string{PaceConnections, PaceRate, PaceRest} }

func attemptOutcomes() []string {
	return []string{AttemptSent, AttemptDeferred, AttemptBounced, AttemptUnreachable}
}

func authMechanisms() []string {
	return []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL", AuthOther}
}

func authResults() []string { return []string{AuthOK, AuthFailed, AuthRefused, AuthMalformed} }

func dkimResults() []string { return []string{DKIMRSA, DKIMEd25519, DKIMNoKey, DKIMUnpublished} }

func dkimStates() []string { return []string{"published", "missing", "other", "unknown"} }

func verifiedSources() []string { return []string{VerifiedRemembered, VerifiedAsked} }

func verifiedResults() []string { return []string{VerifiedExists, VerifiedMissing, VerifiedUnknown} }

func directions() []string { return []string{DirectionIn, DirectionOut} }

func tlsVersions() []string { return []string{TLS12, TLS13, TLSFailed, TLSOther} }

func tlsPolicies() []string { return []string{PolicyDANE, PolicySTS} }

func policyResults() []string {
	return []string{PolicyOK, PolicyFailed, PolicyTested, PolicyUnusable, PolicyUnknown}
}

func fetchResults() []string { return []string{FetchOK, FetchFailed} }

func dnsTypes() []string {
	return []string{DNSTypeMX, DNSTypeA, DNSTypeAAAA, DNSTypeCNAME, DNSTypeTLSA, DNSTypeTXT, DNSTypeOther}
}

func dnsResults() []string {
	return []string{DNSOK, DNSNXDomain, DNSNoData, DNSServFail, DNSTimeout, DNSError}
}

// TLSVersion returns the value of the label "version" for a version number of
// crypto/tls, such as tls.ConnectionState.Version. Zero, which means that there
// is no session, gives [TLSFailed]; an unknown number gives [TLSOther].
func TLSVersion(version uint16) string {
	switch version {
	case 0:
		return TLSFailed
	case tls.VersionTLS12:
		return TLS12
	case tls.VersionTLS13:
		return TLS13
	default:
		return TLSOther
	}
}

// DNSType returns the value of the label "type" for the mnemonic of a record
// type in capital letters, such as "MX". A type without a series of its own
// gives [DNSTypeOther], so that the label stays bounded.
func DNSType(mnemonic string) string {
	switch mnemonic {
	case DNSTypeMX, DNSTypeA, DNSTypeAAAA, DNSTypeCNAME, DNSTypeTLSA, DNSTypeTXT:
		return mnemonic
	default:
		return DNSTypeOther
	}
}
