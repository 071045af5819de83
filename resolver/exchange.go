package resolver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// ednsSize is the size of datagrams that we say we take: one that crosses
	// most paths without fragments, which could be forged.
	ednsSize = 1232
	// datagramBuffer holds what a server may send that does not heed ednsSize.
	datagramBuffer = 4096
)

// errForeign: what arrived is no reply to our question.
var errForeign = errors.New("not a reply to this question")

// exchange asks one server over one network, on a connected socket with a port
// of its own, so that the kernel drops datagrams from any other source and a
// forger has to guess port and ID (RFC 5452 §9).
func exchange(ctx context.Context, network, server string, query *dns.Msg) (*dns.Msg, error) {
	// A server given by name would be resolved by somebody else.
	if _, err := netip.ParseAddrPort(server); err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	wire, err := query.Pack()
	if err != nil {
		return nil, fmt.Errorf("pack query: %w", err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if network == "tcp" {
		return askStream(conn, query, wire)
	}
	return askDatagram(conn, query, wire)
}

// askDatagram waits for the right reply until the connection's deadline: one
// that is forged must not keep the true one from being heard (RFC 5452 §9.1).
func askDatagram(conn net.Conn, query *dns.Msg, wire []byte) (*dns.Msg, error) {
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buffer := make([]byte, datagramBuffer)
	ignored := 0
	for {
		n, err := conn.Read(buffer)
		if err != nil && ignored > 0 {
			return nil, fmt.Errorf("%d datagrams were no reply to the question: %w", ignored, err)
		}
		if err != nil {
			return nil, err
		}
		reply, err := parseReply(query, buffer[:n])
		if err == nil {
			return reply, nil
		}
		ignored++
	}
}

// askStream sends and reads one message with its length before it (RFC 1035 §4.2.2).
func askStream(conn net.Conn, query *dns.Msg, wire []byte) (*dns.Msg, error) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wire)), uint16(len(wire)))
	if _, err := conn.Write(append(framed, wire...)); err != nil {
		return nil, err
	}
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, fmt.Errorf("read length of reply: %w", err)
	}
	buffer := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(conn, buffer); err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	reply, err := parseReply(query, buffer)
	if err != nil {
		return nil, err
	}
	if reply.Truncated {
		return nil, errors.New("a reply over TCP says that it was cut")
	}
	return reply, nil
}

// parseReply returns the message in wire if it replies to query. A reply that
// was cut (TC) may lack its records.
func parseReply(query *dns.Msg, wire []byte) (*dns.Msg, error) {
	if len(wire) < 12 || binary.BigEndian.Uint16(wire) != query.Id {
		return nil, errForeign
	}
	reply := new(dns.Msg)
	err := reply.Unpack(wire)
	if !reply.Response || reply.Opcode != dns.OpcodeQuery || !sameQuestion(query, reply) {
		return nil, errForeign
	}
	if reply.Truncated {
		return reply, nil // whether it parsed or not: it is asked again over TCP
	}
	if err != nil {
		return nil, fmt.Errorf("malformed reply: %w", err)
	}
	// The parser takes a message that ends between two records for whole. An
	// answer that lost its records must not pass for one that has none.
	if binary.BigEndian.Uint16(wire[6:]) != uint16(len(reply.Answer)) ||
		binary.BigEndian.Uint16(wire[8:]) != uint16(len(reply.Ns)) {
		return nil, errors.New("malformed reply: it has fewer records than it says")
	}
	return reply, nil
}

// sameQuestion reports whether a reply repeats the question of query. Some
// servers that refuse a query do not; those replies say nothing about the name,
// so they may be believed all the same.
func sameQuestion(query, reply *dns.Msg) bool {
	if len(reply.Question) == 0 {
		return reply.Rcode != dns.RcodeSuccess && reply.Rcode != dns.RcodeNameError && !reply.Truncated
	}
	asked, got := query.Question[0], reply.Question[0]
	return len(reply.Question) == 1 && got.Qtype == asked.Qtype && got.Qclass == asked.Qclass &&
		strings.EqualFold(got.Name, asked.Name)
}
