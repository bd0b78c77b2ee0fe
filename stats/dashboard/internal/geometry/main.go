// Geometry makes the outlines of the page's map, and where on it each country is, from
// Natural Earth's, which are in the public domain, as npm's world-atlas 2.0.2 has them:
//
//	curl -O https://registry.npmjs.org/world-atlas/-/world-atlas-2.0.2.tgz
//	tar xzf world-atlas-2.0.2.tgz
//	go run ./stats/dashboard/internal/geometry -atlas package
//
// It writes stats/dashboard/page/world.js and stats/dashboard/countries.go, always the same
// from the same files. Nothing else needs them.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	atlas := flag.String("atlas", "package", "`folder` with countries-110m.json and countries-10m.json")
	to := flag.String("to", "stats/dashboard", "`folder` of the package")
	flag.Parse()
	if err := run(*atlas, *to); err != nil {
		fmt.Fprintln(os.Stderr, "geometry:", err)
		os.Exit(1)
	}
}

func run(atlas, to string) error {
	for _, step := range []struct {
		from, to string
		make     func(*topology) ([]byte, error)
	}{
		{"countries-110m.json", filepath.Join("page", "world.js"), outlines},
		{"countries-10m.json", "countries.go", centres},
	} {
		data, err := os.ReadFile(filepath.Join(atlas, step.from))
		if err != nil {
			return fmt.Errorf("%w; take it out of npm's world-atlas 2.0.2", err)
		}
		t, err := decode(data)
		if err != nil {
			return fmt.Errorf("%s: %w", step.from, err)
		}
		made, err := step.make(t)
		if err != nil {
			return fmt.Errorf("%s: %w", step.from, err)
		}
		if err := os.WriteFile(filepath.Join(to, step.to), made, 0o644); err != nil {
			return err
		}
	}
	return nil
}
