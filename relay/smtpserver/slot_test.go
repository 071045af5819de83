package smtpserver

import (
	"context"
	"crypto/tls"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// of a flood of handshakes no more compute at once than have a slot, those
// that wait for their clients have none, and the rest have their time like the
// others.
func TestHandshakesTakeTurns(t *testing.T) {
	cert := certificate(t)
	synctest.Test(t, func(t *testing.T) {
		limits := NewConnections(ConnectionLimits{})
		slots := cap(limits.handshakes)
		computing, goOn := make(chan struct{}, 1000), make(chan struct{})
		server := New(Options{Hostname: "relay.example", Backend: &memory{}, Connections: limits, TLSMode: TLSImplicit, TLS: &tls.Config{
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				computing <- struct{}{}
				<-goOn
				return &cert, nil
			},
		}})
		connect := func() net.Conn {
			ours, theirs := net.Pipe()
			t.Cleanup(func() { theirs.Close() })
			go newSession(server, ours, remoteAddr(ours)).serve()
			return theirs
		}
		for range 500 { // who say nothing, or half of it
			stalled := connect()
			go stalled.Write([]byte("\x16\x03\x01\x02\x00\x01\x00"))
			connect()
		}
		synctest.Wait()
		if n := len(limits.handshakes); n != 0 {
			t.Fatalf("%d slots are held by clients that say nothing", n)
		}
		ended := make(chan error)
		shake := func() {
			nc := connect()
			go func() { ended <- tls.Client(nc, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
		}
		for range slots + 5 {
			shake()
		}
		synctest.Wait()
		if n := len(computing); n != slots {
			t.Fatalf("%d handshakes compute at once, for %d slots", n, slots)
		}
		time.Sleep(9 * time.Second)
		close(goOn)
		for range slots + 5 { // each in its turn
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		for range slots { // which nobody gives back
			limits.handshakes <- struct{}{}
		}
		begun, begin := len(computing), time.Now()
		shake()
		if err := <-ended; err == nil || len(computing) != begun || time.Since(begin) != 10*time.Second {
			t.Errorf("without a slot: %v after %v, %d began to compute", err, time.Since(begin), len(computing)-begun)
		}
		for range slots {
			<-limits.handshakes
		}
		shake()
		if err := <-ended; err != nil {
			t.Errorf("after the flood: %v", err)
		}
		synctest.Wait()
		if n := len(limits.handshakes); n != 0 {
			t.Errorf("%d slots are held by nobody", n)
		}
	})
}

// Nobody waits for a handshake when the server shuts down.
func TestShutdownWithinHandshake(t *testing.T) {
	s, address := start(t, &memory{}, withTLS(t, TLSImplicit))
	c := dial(t, address)
	c.say("\x16")
	for s.Sessions() == 0 {
		dial(t, address).Close() // accepted after it
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	c.expect("closed")
}
