package fingerprint_test

import (
	"fmt"
	"log"
	"math/rand/v2"
	"time"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/natprobe/fingerprint"
)

// What fifty NATs do, as reports from behind them and echo requests to them have
// told, shows that they are of two kinds, and one of a third.
func ExampleGroup() {
	random := rand.New(rand.NewPCG(1, 2))
	fingerprintOf := func(o fingerprint.Observation, hops, echoRate float64) fingerprint.Vector {
		o.Lifetime += time.Duration(random.IntN(3000)) * time.Millisecond
		v, err := o.Vector()
		if err != nil {
			log.Fatal(err)
		}
		for d, x := range map[fingerprint.Dim]float64{
			fingerprint.TTLDelta: hops + float64(random.IntN(3)), fingerprint.ICMPEchoRate: echoRate,
		} {
			if err := v.Set(d, x); err != nil {
				log.Fatal(err)
			}
		}
		return v
	}
	var vectors []fingerprint.Vector
	for range 25 {
		home := fingerprint.Observation{Mappings: 8, Preserved: 8, Lifetime: 30 * time.Second, Filtering: natprobe.FilteringAddressAndPortDependent}
		carrier := fingerprint.Observation{Mappings: 8, Preserved: 0, Lifetime: 300 * time.Second, Filtering: natprobe.FilteringEndpointIndependent}
		vectors = append(vectors, fingerprintOf(home, 8, 1), fingerprintOf(carrier, 14, 0))
	}
	vectors[2].Mask(fingerprint.MappingLifetime) // nobody had the time to measure it
	stranger := fingerprint.Observation{Mappings: 8, Preserved: 4, Lifetime: time.Hour, Filtering: natprobe.FilteringAddressDependent}
	vectors = append(vectors, fingerprintOf(stranger, 3, .5))

	groups, err := fingerprint.Group(vectors, nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range groups.Clusters {
		fmt.Println(len(c.Members), c.Label)
	}
	fmt.Printf("%d like no other\n", groups.Noise)
	// Output:
	// 25 filtering=address_and_port_dependent ports=kept lifetime=short echo=answers
	// 25 filtering=endpoint_independent ports=changed lifetime=recommended echo=silent
	// 1 like no other
}
