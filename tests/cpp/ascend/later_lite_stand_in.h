#pragma once

#include <cstddef>
#include <cstdint>

// What later_lite_stand_in.cc saw.
extern "C" {
extern int stand_in_flag;
extern std::size_t stand_in_models;
extern const void* stand_in_implementations[8];
extern std::uint32_t stand_in_rank;
extern const void* stand_in_device;
}
