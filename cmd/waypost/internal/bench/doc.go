// Package bench measures a mail relay from outside: a client that sends
// messages over many sessions, and a receiver that counts what arrives.
//
// It knows nothing of the relay that it measures; any program at the target's
// address will do. Both ends do as little work as they can, since they share
// the machine with it.
package bench
