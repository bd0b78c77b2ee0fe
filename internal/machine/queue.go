package machine

// Queue is a first-in, first-out queue, for what a machine has to say until it is
// polled. The zero value is empty. It reuses its memory once it has been emptied.
type Queue[T any] struct {
	items []T
	first int
}

// Push adds v at the end.
func (q *Queue[T]) Push(v T) { q.items = append(q.items, v) }

// Pop takes the first item; false when there is none.
func (q *Queue[T]) Pop() (v T, ok bool) {
	if q.first == len(q.items) {
		return v, false
	}
	v, ok = q.items[q.first], true
	var zero T
	q.items[q.first] = zero // what was popped is not kept alive
	if q.first++; q.first == len(q.items) {
		q.items, q.first = q.items[:0], 0
	}
	return v, ok
}

// Len is how many items wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.first }
