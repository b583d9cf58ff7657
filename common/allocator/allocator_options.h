// What jemalloc reads of a program that is linked with it.
#pragma once

/// Read by jemalloc when it starts (jemalloc(3), "TUNING"); MALLOC_CONF in the environment goes over it.
extern "C" const char* malloc_conf;
