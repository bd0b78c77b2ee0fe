package words

import (
	"fmt"
	"path"
	"reflect"
	"slices"
)

// List has the words of a type's constants, which are the numbers from 0 up. It is not
// changed once it is made, and any goroutine may use it.
type List[T ~uint8] struct{ words []string }

// Of is the list of words, in the order of the constants.
func Of[T ~uint8](words ...string) List[T] { return List[T]{words} }

// By is the list of the words in the rows of a table, in the order of the constants.
func By[T ~uint8, Row any](table []Row, word func(Row) string) List[T] {
	var l List[T]
	for _, row := range table {
		l.words = append(l.words, word(row))
	}
	return l
}

// String is the word of v. Of what is none of the constants, it is the type's name with the
// number, such as "Side(200)".
func (l List[T]) String(v T) string {
	if int(v) < len(l.words) {
		return l.words[v]
	}
	return fmt.Sprintf("%s(%d)", reflect.TypeFor[T]().Name(), uint8(v))
}

// Marshal is the word of v, or an error for what is none of the constants.
func (l List[T]) Marshal(v T) ([]byte, error) {
	if int(v) < len(l.words) {
		return []byte(l.words[v]), nil
	}
	return nil, fmt.Errorf("%s: %s has no word; use one of the constants", home[T](), l.String(v))
}

// Unmarshal finds the constant that has a word. The error names the words that there are;
// *to is as it was then.
func (l List[T]) Unmarshal(text []byte, to *T) error {
	i := slices.Index(l.words, string(text))
	if i < 0 {
		return fmt.Errorf("%s: %.40q is no %s; the words are %q", home[T](), text, reflect.TypeFor[T]().Name(), l.words)
	}
	*to = T(i)
	return nil
}

// home is the name of the package that T is of.
func home[T any]() string { return path.Base(reflect.TypeFor[T]().PkgPath()) }
