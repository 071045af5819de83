// Package bench measures a mail relay from outside: a client that sends
// messages over many sessions, a receiver that counts what arrives, and a look
// at what the relay's processes used meanwhile.
//
// It knows nothing of the relay that it measures; any program at the target's
// address will do. Both ends do as little work as they can, since they share
// the machine with it. Each message has a number, and a Ledger knows what was
// acknowledged and what arrived: a relay that is fast because it loses mail is
// found out.
package bench
