#pragma once

/// Marks a symbol as visible outside of libskywork_rt.so; everything else is hidden.
#define SKYWORK_RT_API __attribute__((visibility("default")))
