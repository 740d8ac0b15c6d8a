module baton/test/clients/go

go 1.26.0

require github.com/kurrent-io/KurrentDB-Client-Go v1.1.1
