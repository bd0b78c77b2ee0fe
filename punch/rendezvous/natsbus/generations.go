package natsbus

// generations is a map that forgets: what has not been put since the turn before
// the last one is gone. The zero value is empty.
type generations[K comparable, V any] struct {
	young, old map[K]V
}

func (g *generations[K, V]) get(k K) (v V, ok bool) {
	if v, ok = g.young[k]; !ok {
		v, ok = g.old[k]
	}
	return v, ok
}

func (g *generations[K, V]) put(k K, v V) {
	if g.young == nil {
		g.young = make(map[K]V)
	}
	g.young[k] = v
}

func (g *generations[K, V]) forget(k K) {
	delete(g.young, k)
	delete(g.old, k)
}

// turn makes what is young old and drops what was old.
func (g *generations[K, V]) turn() { g.young, g.old = nil, g.young }

// len is how many are young.
func (g *generations[K, V]) len() int { return len(g.young) }
