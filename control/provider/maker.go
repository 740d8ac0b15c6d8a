package provider

import (
	"context"
	"errors"
	"time"
)

// Provider is a kind of machines.
type Provider interface{ About() About }

// About says what a provider is and can do.
type About struct {
	Name  string // of the kind: "local", "ssh", "hetzner"
	Title string
	Does  string // in a few words
	// CanMake: it is a Maker. CanReach: it is a Reacher.
	CanMake, CanReach bool
}

// Reacher puts an agent on a machine that exists. Shell is one.
type Reacher interface {
	Provider
	HostKey(ctx context.Context, t SSHTarget) (fingerprint, kind string, err error)
	Install(ctx context.Context, t SSHTarget, in SSHInstall, tell Progress) error
}

// Maker makes and removes machines. Every method may be repeated; errors are
// those below, or say what the provider said.
type Maker interface {
	Provider
	// Locations are where machines can stand, sorted by name.
	Locations(ctx context.Context) ([]Place, error)
	// Sizes are what can be made at a location, or anywhere with "", cheapest
	// first as far as prices are known.
	Sizes(ctx context.Context, location string) ([]Size, error)
	// Make makes a machine. A machine of the same Key that is there already is
	// returned as it is: a repeat after a lost answer makes no second one.
	Make(ctx context.Context, m NewMachine) (Machine, error)
	// Look describes a machine. Errors: ErrNoMachine.
	Look(ctx context.Context, id string) (Machine, error)
	// Remove deletes a machine with its disk. One that is gone is no error; one
	// that does not bear the key is refused: it is not ours.
	Remove(ctx context.Context, id, key string) error
}

// Errors of a Maker.
var (
	// ErrNoMachine: the provider has no such machine.
	ErrNoMachine = errors.New("the provider has no such machine")
	// ErrCredentials: the provider does not take the token, or it may not write.
	ErrCredentials = errors.New("the provider does not take the token")
	// ErrLimit: the account may not have more machines, or there are none left.
	ErrLimit = errors.New("the provider has no such machine to give now")
	// ErrNotOurs: the machine does not bear the key it was made with.
	ErrNotOurs = errors.New("the machine does not bear the label it was made with: it is left alone")
	// ErrInput: the provider does not take what was asked for.
	ErrInput = errors.New("the provider does not take what was asked for")
)

// Place is where machines can stand.
type Place struct {
	Name, Title, Country string
}

// Size is a kind of machine.
type Size struct {
	Name, Title, Arch string // Arch as Go names it
	Cores             int
	MemoryBytes       int64
	DiskBytes         int64
	MonthlyPrice      string // with its currency, gross; "" not known
}

// NewMachine is a machine to be made.
type NewMachine struct {
	// Key is ours and unique; the provider keeps it with the machine.
	Key                         string
	Name, Location, Size, Image string
	// UserData is given to the first-boot tool. It holds a one-use token.
	UserData string
}

// Machine is one that the provider has.
type Machine struct {
	ID, Name, Key  string
	State          string // in the provider's words
	Running        bool
	Address        string // public, "" none yet
	Location, Size string
	MadeAt         time.Time
}

// LocalMachines are those a person joins by hand.
type LocalMachines struct{}

// About implements Provider.
func (LocalMachines) About() About {
	return About{Name: "local", Title: "Any Linux machine", Does: "run the join command on it"}
}

// About implements Provider.
func (Shell) About() About {
	return About{Name: "ssh", Title: "A machine reached over SSH", Does: "this program installs itself there", CanReach: true}
}
