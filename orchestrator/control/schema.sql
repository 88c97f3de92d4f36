create table if not exists meta (key text primary key, value text not null) strict;
-- Documents and stable specs belong to a configuration folder: another one begins without them.
create table if not exists documents (
    folder text not null,
    kind text not null,
    name text not null,
    path text not null,
    text text not null,
    generation integer not null,
    primary key (folder, kind, name)
) strict;
create table if not exists stable (
    folder text not null,
    model text not null,
    spec text not null,
    primary key (folder, model)
) strict;
-- A replica whose phase is starting or stopping is an open intent: the row is
-- committed before the side effect starts, and changed after it has ended.
create table if not exists replicas (
    id text primary key,
    model text not null,
    revision text not null,
    engine text not null,
    phase text not null,
    why text not null,
    since text not null,
    socket text,
    pid integer,
    pid_started real
) strict;
-- What a source that can move meant when it was fetched.
create table if not exists resolutions (
    folder text not null,
    model text not null,
    written text not null,
    resolved text not null,
    newest text not null,
    primary key (folder, model)
) strict;
-- What a launch takes, estimated and measured (JSON: bytes by pool); `seen` is the day it was last learnt of.
create table if not exists footprints (
    launch text primary key,
    estimated text not null,
    measured text not null,
    load_s real,
    engine_version text not null,
    exclusive text not null,
    seen text not null
) strict;
delete from footprints where seen < date('now', '-180 days');
