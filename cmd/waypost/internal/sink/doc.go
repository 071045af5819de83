// Package sink is a small receiving server for trying things out: it takes
// every message, says what came, and keeps nothing.
//
// It is built on go-smtp, and so is an independent peer for waypost's own
// client. It refuses to listen anywhere but on loopback, since it takes mail
// for everyone. It holds no more of a message in memory than it is to show.
//
// The steps, in order, of one message: note the sender, answer each recipient
// as the first fitting [Answer] says, read the content to its end, count it,
// and print one line or the content.
package sink
