package punch

import (
	"math/rand/v2"

	"github.com/bradawl/bradawl/natprobe"
)

// sprayOrder lists at most n ports that the NAT with the profile may have given out, and
// of how many they are taken.
func sprayOrder(p natprobe.Profile, n int, rng *rand.Rand) (ports []uint16, size int) {
	low, high := int(p.Ports.Low), int(p.Ports.High)
	if p.Ports.Model != natprobe.PortsBlock && p.Ports.Model != natprobe.PortsRandom || low < leastPort || high <= low {
		low, high = leastPort, 65535
	}
	if p.Ports.Model == natprobe.PortsRandom {
		low, high = leastPort, 65535
	}
	add := func(from, to int) {
		start := len(ports)
		for port := max(from, leastPort); port <= min(to, 65535); port++ {
			if p.Ports.Parity != natprobe.Yes || port%2 == 0 {
				ports = append(ports, uint16(port))
			}
		}
		tail := ports[start:]
		rng.Shuffle(len(tail), func(i, j int) { tail[i], tail[j] = tail[j], tail[i] })
	}
	add(low, high)
	add(low-(high-low)/4, low-1)
	add(high+1, high+(high-low)/4)
	size = len(ports)
	return ports[:min(n, len(ports))], size
}
