package main

import (
	"bytes"
	"fmt"
	"math"
)

// antarctica is left out: the map ends above most of it.
const antarctica = "010"

// outlines writes the module world.js: lines, each as x, y and then differences, in tenths
// of a degree east and north; those that only one country has are coast, and come first; and
// rings of them to fill.
func outlines(t *topology) ([]byte, error) {
	users := make([]int, len(t.lines))
	for _, c := range t.countries {
		for _, ring := range c.rings {
			for _, i := range ring {
				if c.id != antarctica {
					users[max(i, ^i)]++
				}
			}
		}
	}
	var out bytes.Buffer
	out.WriteString("// Made by stats/dashboard/internal/geometry. The outlines are Natural Earth's 1:110m countries, which are in the\n" +
		"// public domain (naturalearthdata.com), by way of world-atlas 2.0.2 (ISC, Michael Bostock). Tenths of a degree.\n")
	number := make([]int, len(t.lines))
	count, coast := 0, 0
	out.WriteString("export const lines = [\n")
	for _, borders := range []bool{false, true} {
		for i, line := range t.lines {
			if users[i] == 0 || users[i] > 1 != borders {
				continue
			}
			number[i] = count
			count++
			if !borders {
				coast++
			}
			writeLine(&out, line)
		}
	}
	fmt.Fprintf(&out, "];\nexport const coast = %d;\nexport const rings = [\n", coast)
	for _, c := range t.countries {
		for _, ring := range c.rings {
			if c.id == antarctica {
				continue
			}
			out.WriteByte('[')
			for at, i := range ring {
				if at > 0 {
					out.WriteByte(',')
				}
				n := number[max(i, ^i)]
				if i < 0 {
					n = ^n
				}
				fmt.Fprint(&out, n)
			}
			out.WriteString("],\n")
		}
	}
	out.WriteString("];\n")
	return out.Bytes(), nil
}

func writeLine(out *bytes.Buffer, line []point) {
	var x, y int
	out.WriteByte('[')
	for i, p := range line {
		nx, ny := int(math.Round(p[0]*10)), int(math.Round(p[1]*10))
		if i > 0 && i < len(line)-1 && nx == x && ny == y {
			continue
		}
		if i > 0 {
			out.WriteByte(',')
		}
		fmt.Fprintf(out, "%d,%d", nx-x, ny-y)
		x, y = nx, ny
	}
	out.WriteString("],\n")
}
