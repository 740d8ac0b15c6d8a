package engine

import "time"

// Event-store actions on its accounts. A store without security refuses each
// with CodeNotOffered. Passwords are never in an answer, a log or an error.
const (
	// ListAccounts. Values: "users", JSON of []AccountInfo by login.
	ListAccounts = "list-accounts"
	// CreateAccount{account,password}: JSON of AccountInfo; its times and
	// Disabled are not looked at.
	CreateAccount = "create-account"
	// UpdateAccount{account}: full name and groups.
	UpdateAccount = "update-account"
	// EnableAccount{login,enabled}: "true" or "false".
	EnableAccount = "enable-account"
	// ResetAccount{login,password}.
	ResetAccount = "reset-account"
	// DeleteAccount{login}.
	DeleteAccount = "delete-account"
)

// AccountInfo is an account of an event store.
type AccountInfo struct {
	Login    string   `json:"login"`
	FullName string   `json:"fullName"`
	Groups   []string `json:"groups"`
	Disabled bool     `json:"disabled"`
	// Created is nil where Baton may not read it.
	Created *time.Time `json:"created,omitempty"`
	Updated time.Time  `json:"updated"`
}

// StateNoLogin is the State of an observation of a server that answers, but
// not without a login, or not with the one that was given.
const StateNoLogin = "NotSignedIn"
