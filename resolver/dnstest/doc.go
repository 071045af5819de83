// Package dnstest is a DNS server for tests: a real one, on a loopback address,
// over UDP and TCP on one port, with content given as lines of a zone file and
// with scripted misbehaviour for each name.
//
// It answers as a recursive server does (it follows aliases within its records
// and sets RA), or as an authoritative one that leaves the next step to the
// client (see [Server.SetRecursion]). It refuses to forward: what it does not
// hold does not exist.
//
// For each query it takes these steps:
//
//  1. count the query under its name and type;
//  2. find the behaviour that is scripted for the name and type, if any;
//  3. wait, where the behaviour says so;
//  4. send the forged replies that the behaviour asks for;
//  5. send the true reply, whole, cut, or changed as the behaviour says, or none.
//
// The package is for tests only: it reports its own failures to a [testing.TB]
// and stops with it.
package dnstest
