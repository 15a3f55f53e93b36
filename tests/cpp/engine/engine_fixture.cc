#include "engine/engine_fixture.h"

#include <cstring>

namespace skywork_rt {
namespace {

template <typename T>
void Put(std::string* out, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out->append(bytes, sizeof value);
}

}  // namespace

std::shared_ptr<const Vocabulary> ByteVocabulary(std::size_t size) {
  const auto count = static_cast<std::uint32_t>(size);
  std::string content = "SKVB";
  for (const std::uint32_t field : {1U, 0U, 0U, count, 0U}) Put(&content, field);
  Put(&content, static_cast<std::uint64_t>(size));
  for (std::uint32_t i = 0; i <= count; ++i) Put(&content, i);
  content.append(size, '\0');
  content.append((8 - content.size() % 8) % 8, '\0');
  for (std::size_t i = 0; i < size; ++i) content.push_back(static_cast<char>(i));
  return std::make_shared<const Vocabulary>(Vocabulary::Parse(content, "vocab.bin"));
}

}  // namespace skywork_rt
