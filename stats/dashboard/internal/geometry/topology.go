package main

import (
	"encoding/json"
	"fmt"
	"math"
)

// point is a longitude and a latitude in degrees.
type point [2]float64

// topology is what is used of a TopoJSON file: lines that countries share, and countries as
// rings of them. A line i that is run backwards is written ^i.
type topology struct {
	lines     [][]point
	countries []country
}

type country struct {
	id    string  // numeric, of ISO 3166-1; "": none
	name  string  // in English
	rings [][]int // of all its polygons
}

// decode reads a quantised topology.
func decode(data []byte) (*topology, error) {
	var file struct {
		Transform struct {
			Scale, Translate point
		}
		Arcs    [][][2]int
		Objects struct {
			Countries struct {
				Geometries []struct {
					Type       string
					ID         string
					Arcs       json.RawMessage
					Properties struct{ Name string }
				}
			}
		}
	}
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	t := new(topology)
	for _, arc := range file.Arcs {
		var (
			line []point
			x, y int
		)
		for _, step := range arc {
			x, y = x+step[0], y+step[1]
			line = append(line, point{
				float64(x)*file.Transform.Scale[0] + file.Transform.Translate[0],
				float64(y)*file.Transform.Scale[1] + file.Transform.Translate[1],
			})
		}
		t.lines = append(t.lines, line)
	}
	for _, g := range file.Objects.Countries.Geometries {
		c := country{id: g.ID, name: g.Properties.Name}
		var polygons [][][]int
		switch g.Type {
		case "Polygon":
			polygons = make([][][]int, 1)
			if err := json.Unmarshal(g.Arcs, &polygons[0]); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		case "MultiPolygon":
			if err := json.Unmarshal(g.Arcs, &polygons); err != nil {
				return nil, fmt.Errorf("%s: %w", c.name, err)
			}
		}
		for _, rings := range polygons {
			c.rings = append(c.rings, rings...)
			for _, ring := range rings {
				for _, i := range ring {
					if max(i, ^i) >= len(t.lines) {
						return nil, fmt.Errorf("%s: there is no line %d", c.name, i)
					}
				}
			}
		}
		t.countries = append(t.countries, c)
	}
	if len(t.countries) == 0 {
		return nil, fmt.Errorf("there are no countries in it")
	}
	return t, nil
}

// ring returns the points of a ring. One that crosses the antimeridian goes on beyond 180
// degrees.
func (t *topology) ring(of []int) []point {
	var all []point
	for _, i := range of {
		line := t.lines[max(i, ^i)]
		for at := range line {
			if at == 0 && len(all) > 0 {
				continue // it is where the last one ended
			}
			if i < 0 {
				at = len(line) - 1 - at
			}
			p := line[at]
			if len(all) > 0 {
				p[0] += 360 * math.Round((all[len(all)-1][0]-p[0])/360)
			}
			all = append(all, p)
		}
	}
	return all
}

// area is that of a ring on a sphere, in units that do not matter.
func area(ring []point) float64 {
	sum := 0.0
	for i, p := range ring {
		q := ring[(i+1)%len(ring)]
		sum += (q[0] - p[0]) * (math.Sin(p[1]*math.Pi/180) + math.Sin(q[1]*math.Pi/180))
	}
	return math.Abs(sum)
}
