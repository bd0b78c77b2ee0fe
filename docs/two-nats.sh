#!/bin/sh
# Two hosts behind two NATs of the kernel, on one Linux machine, for trying a program that
# is to get through them. In the folder of this repository:
#
#	sudo sh docs/two-nats.sh up [NAT [NAT]]      # each cone, which is the default, or symmetric
#	sudo ip netns exec bradawl-net PROGRAM       # a server, on the internet: 203.0.113.1 and 203.0.113.2
#	sudo ip netns exec bradawl-a PROGRAM         # a program behind the first NAT
#	sudo ip netns exec bradawl-b PROGRAM         # and one behind the second
#	sudo sh docs/two-nats.sh down                # once the programs have ended
#
# A cone keeps a socket's port, whoever it sends to, and lets in what it has sent to, address
# and port (port-restricted); a symmetric NAT has another, random port for each remote.
#
# It needs iproute2 and nftables. Nothing but the five namespaces is changed, and no packet
# leaves them.
set -eu

nets="bradawl-net bradawl-nat-a bradawl-nat-b bradawl-a bradawl-b"

down() {
	for net in $nets; do
		ip netns del "$net" 2>/dev/null || true
	done
}

# nat LETTER NUMBER KIND: a NAT with one host behind it.
nat() {
	case $3 in
	cone) how=masquerade ;;
	symmetric) how="masquerade fully-random" ;;
	*) echo "$3 is no NAT of this script: cone or symmetric" >&2 && exit 2 ;;
	esac
	router=bradawl-nat-$1 host=bradawl-$1
	ip -n bradawl-net link add "nat-$1" type veth peer name outside netns "$router"
	ip -n bradawl-net link set "nat-$1" master internet up
	ip -n "$router" addr add "203.0.113.1$2/24" dev outside
	ip -n "$router" link set outside up
	ip -n "$router" link add inside type veth peer name eth0 netns "$host"
	ip -n "$router" addr add "192.168.$2.1/24" dev inside
	ip -n "$router" link set inside up
	ip -n "$host" addr add "192.168.$2.2/24" dev eth0
	ip -n "$host" link set eth0 up
	ip -n "$host" route add default via "192.168.$2.1"
	ip netns exec "$router" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	# What comes to the router itself is dropped without an answer, as routers at home do: a
	# probe that is too early must leave no trace, and no ICMP error go back.
	ip netns exec "$router" nft -f - <<-END
		table ip nat {
			chain out { type nat hook postrouting priority srcnat; oifname "outside" $how; }
			chain to-us { type filter hook input priority filter; iifname "outside" ct state new drop; }
			chain through { type filter hook forward priority filter; iifname "outside" ct state new drop; }
		}
	END
}

up() {
	if ! command -v nft >/dev/null; then
		echo "nft is missing: apt-get install nftables, or the like" >&2 && exit 1
	fi
	trap down EXIT # half of it is of no use
	for net in $nets; do
		ip netns add "$net"
		ip -n "$net" link set lo up
	done
	ip -n bradawl-net link add internet type bridge
	ip -n bradawl-net addr add 203.0.113.1/24 dev internet
	ip -n bradawl-net addr add 203.0.113.2/24 dev internet
	ip -n bradawl-net link set internet up
	nat a 1 "$1"
	nat b 2 "$2"
	trap - EXIT
}

case ${1-} in
up) up "${2-cone}" "${3-cone}" ;;
down) down ;;
*) echo "usage: two-nats.sh up [cone|symmetric [cone|symmetric]], or two-nats.sh down" >&2 && exit 2 ;;
esac
