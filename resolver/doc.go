// Package resolver finds the hosts that take mail for a domain, and the
// addresses of a host, in the DNS.
//
// It refuses to guess: a name does not exist, or has no mail host, only when a
// server said so in a reply that answers the question; everything else is
// temporary. It completes no partial names, forwards no question for a domain
// that cannot exist, and dials no mail host: whether an address may be
// connected to is decided by the caller, who must dial the address that it got
// and not resolve the name again.
//
// [Resolver.Hosts] takes these steps (RFC 5321 §5.1):
//
//  1. an address literal, and localhost, are answered without the DNS;
//  2. the domain is checked and turned into A-labels;
//  3. its MX records are looked up, aliases followed;
//  4. a null MX ends the look-up (RFC 7505);
//  5. our own name or address among the hosts cuts the list at its preference;
//  6. the rest is sorted by preference, hosts of equal preference shuffled;
//  7. only when the domain exists and has no MX record is it its own host.
//
// [Resolver.Addresses] takes these:
//
//  1. an address, as a literal or in text, is its own answer, and localhost is loopback;
//  2. the hosts file answers the names that it has;
//  3. A and AAAA records are looked up side by side; one family that fails does
//     not spoil the other;
//  4. the families are interleaved, so that a dead one costs one connection attempt.
//
// [Resolver.TLSA], [Resolver.TXT] and [Resolver.Security] serve the security of
// delivery. An answer is secure (Authenticated) when a validating server that we
// trust says so, insecure when none does, and an error when it is bogus: a
// validating server then answers SERVFAIL.
//
// Each look-up goes through the same layers: the cache (by TTL, with negative
// answers as in RFC 2308), the flights (equal look-ups at one time share one
// query), the aliases, the rounds over the servers, and one exchange over UDP,
// and over TCP when the reply was cut. Each layer is a file.
//
// Nothing is kept on disk; after a crash the cache is empty and everything is
// looked up again.
package resolver
