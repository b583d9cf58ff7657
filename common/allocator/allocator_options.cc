// How programs use jemalloc, where they are linked with it (naru_use_allocator).
//
// Most memory of an event is taken by one thread and given back by another: the allocator of glibc takes a lock for that
// and sorts free pieces, a fifth of ingest's time on Kafka. A few arenas are enough for its threads, and what is not used
// goes back to the system within seconds.
#include "common/allocator/allocator_options.h"

const char* malloc_conf = "narenas:4,dirty_decay_ms:2000,muzzy_decay_ms:0,background_thread:true";
