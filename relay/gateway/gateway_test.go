package gateway

import (
	"fmt"
	"testing"
	"testing/fstest"
)

// The files of a container of Docker's, and of a host.
var (
	bridge = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010011AC	0003	0	0	0	00000000	0	0	0
eth0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
eth1	0000000A	010011AC	0003	0	0	0	000000FF	0	0	0
`
	six = `fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo
`
)

func TestAddresses(t *testing.T) {
	root := fstest.MapFS{"proc/net/route": {Data: []byte(bridge)}, "proc/net/ipv6_route": {Data: []byte(six)}}
	if got := fmt.Sprint(Addresses(root)); got != "[172.17.0.1 fd00::1]" {
		t.Errorf("gateways %s", got)
	}
	if got := Addresses(fstest.MapFS{"proc/net/route": {Data: []byte("eth0 00000000 zz 0003\n\n")}}); len(got) != 0 {
		t.Errorf("gateways %v of nonsense", got)
	}
	if got := Addresses(fstest.MapFS{}); len(got) != 0 {
		t.Errorf("gateways %v of nothing", got)
	}
}

func TestInContainer(t *testing.T) {
	file := func(name, text string) fstest.MapFS { return fstest.MapFS{name: {Data: []byte(text)}} }
	for want, roots := range map[bool][]fstest.MapFS{
		true: {
			file(".dockerenv", ""), file("run/.containerenv", "engine=podman\n"),
			file("proc/1/cgroup", "12:pids:/docker/0123abcd\n"), file("proc/1/cgroup", "0::/kubepods/besteffort/pod1\n"),
			file("proc/1/cgroup", "0::/system.slice/docker-0123.scope\n"),
		},
		false: {{}, file("proc/1/cgroup", "0::/init.scope\n"), file("proc/1/cgroup", "0::/\n"), file("proc/1/cgroup", "0::/user.slice/dockerx\n")},
	} {
		for _, root := range roots {
			if InContainer(root) != want {
				t.Errorf("%v is a container: %t", root, !want)
			}
		}
	}
}
