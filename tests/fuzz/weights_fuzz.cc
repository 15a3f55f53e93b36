// Any bytes as a weights file: read, or refused with a typed error.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "backend/native/weights/weights_file.h"
#include "skywork_rt/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // A mapping begins at a page; offsets are checked against that.
  std::vector<std::uint8_t> storage(size + 64);
  std::uint8_t* file = storage.data() + (64 - reinterpret_cast<std::uintptr_t>(storage.data()) % 64) % 64;
  if (size != 0) std::memcpy(file, data, size);
  try {
    std::uint8_t sum = 0;
    for (const auto& [name, tensor] : skywork_rt::native::ParseWeights({file, size}, "fuzz")) {
      for (std::size_t i = 0; i < tensor.bytes; ++i) sum = static_cast<std::uint8_t>(sum + tensor.data[i]);
    }
    static_cast<void>(sum);
  } catch (const skywork_rt::Error&) {
  }
  return 0;
}
