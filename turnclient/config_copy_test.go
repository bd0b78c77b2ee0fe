package turnclient

import (
	"reflect"
	"slices"
	"testing"
)

// TestConfigReachesMachine: every field of a machine's configuration is one of a client's, too, and
// is handed on.
func TestConfigReachesMachine(t *testing.T) {
	var c Config
	client := reflect.ValueOf(&c).Elem()
	made := []string{"Servers", "Ask", "Usage"} // out of others
	fields := reflect.VisibleFields(reflect.TypeFor[MachineConfig]())
	for _, f := range fields {
		if slices.Contains(made, f.Name) {
			continue
		}
		v := client.FieldByName(f.Name)
		if !v.IsValid() || v.Type() != f.Type {
			t.Errorf("MachineConfig.%s is not a field of Config's", f.Name)
			continue
		}
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(1)
		case reflect.Uint8:
			v.SetUint(1)
		case reflect.Struct:
			v.Field(0).SetString("x")
		default:
			t.Errorf("%s is a %v: set it here", f.Name, v.Kind())
		}
	}
	got := reflect.ValueOf(c.machine(nil, nil))
	for _, f := range fields {
		if want := client.FieldByName(f.Name); !slices.Contains(made, f.Name) && want.IsValid() &&
			!reflect.DeepEqual(got.FieldByName(f.Name).Interface(), want.Interface()) {
			t.Errorf("Config.machine leaves out %s", f.Name)
		}
	}
}
