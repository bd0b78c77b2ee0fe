package dashboard_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/bradawl/bradawl/natprobe"
	"github.com/bradawl/bradawl/stats/dashboard"
)

// A page, and a program that tells it what NAT it is behind.
func Example() {
	const token = "keep-this-one-to-yourself"
	d, err := dashboard.New(dashboard.Config{Tokens: []string{token}})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/nats/", d)
	server := httptest.NewServer(mux)
	defer server.Close()
	defer d.Close(context.Background())

	c, err := dashboard.NewClient(dashboard.ClientConfig{URL: server.URL + "/nats/", Token: token})
	if err != nil {
		panic(err)
	}
	defer c.Close(context.Background())
	here, err := dashboard.Country("NL")
	if err != nil {
		panic(err)
	}
	err = c.Push(context.Background(), dashboard.Report{NAT: natprobe.TypePortRestrictedCone, Place: here})
	fmt.Println(err, d.Ledger().Refused)
	// Output: <nil> 0
}

// Places by address, from a database in MaxMind's format. With
// github.com/oschwald/maxminddb-golang/v2, which this module does not need, country is
//
//	db, err := maxminddb.Open("GeoLite2-Country.mmdb")
//	...
//	country := func(addr netip.Addr) (code string, err error) {
//		return code, db.Lookup(addr).DecodePath(&code, "country", "iso_code")
//	}
func ExampleConfig_locate() {
	country := func(addr netip.Addr) (string, error) { // the database's
		return map[netip.Addr]string{netip.MustParseAddr("192.0.2.1"): "SE"}[addr], nil
	}
	cfg := dashboard.Config{
		Locate: func(addr netip.Addr) (dashboard.Place, bool) {
			code, err := country(addr)
			if err != nil || code == "" {
				return dashboard.Place{}, false
			}
			place, err := dashboard.Country(code)
			return place, err == nil
		},
	}
	fmt.Println(cfg.Locate(netip.MustParseAddr("192.0.2.1")))
	fmt.Println(cfg.Locate(netip.MustParseAddr("192.0.2.2")))
	// Output:
	// SE true
	//  false
}
