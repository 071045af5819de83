// Package smtpserver is the listener's engine: it speaks the protocol with a
// client and drives a go-smtp Backend.
//
// It exists because a public port needs what go-smtp's own command loop does
// not give: strict line ends, a deadline for each read, no second
// interpretation of a body after an error, replies that leave together, and
// the answers that RFC 5321 lists. The contract is go-smtp's, so that the same
// backend also runs under smtp.NewServer; what the contract lacks are add-on
// interfaces in go-smtp's manner (see [Backend] and the …Session types).
//
// It decides nothing about mail. In order, for each connection: greet, read a
// command, check its syntax and its place in the session, ask the backend's
// session, reply. A line that does not end in CRLF is never executed. After
// any error while reading, the connection is closed and nothing more of it is
// interpreted.
package smtpserver
