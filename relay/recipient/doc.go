// Package recipient finds out, while the client waits, whether a recipient can
// be delivered to. Mail that is taken for somebody who does not exist comes back
// as a report to a sender who is most often forged; what is refused at once
// bothers nobody.
//
// For the domains that are taken from anyone there are two ways to know: a file
// of the recipients (see [Load]), and the next hop, which is asked as if a
// message were to be sent and remembers nothing (see [Verifier]). For mail that
// goes where MX records say, DNS can tell that nobody will ever take it.
//
// It refuses only what is certain. Where nothing can be found out in time, the
// configuration says whether the recipient is taken or the client comes back.
package recipient
