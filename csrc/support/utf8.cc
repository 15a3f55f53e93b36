#include "support/utf8.h"

#include <cstdint>

namespace skywork_rt {
namespace {

struct Lead {
  std::size_t length;  // of the whole character; 0: no character begins so
  std::uint8_t second_low;
  std::uint8_t second_high;
};

Lead ReadLead(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};  // a continuation, or an overlong form
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};  // below: overlong
  if (byte == 0xED) return {3, 0x80, 0x9F};  // above: surrogates
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};  // below: overlong
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // above: past U+10FFFF
  return {0, 0, 0};
}

}  // namespace

Utf8Head ReadUtf8(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
  const Lead lead = ReadLead(at(0));
  if (lead.length == 0) return {Utf8Head::Kind::kIllFormed, 1};
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Utf8Head::Kind::kIncomplete, i};
    const std::uint8_t low = i == 1 ? lead.second_low : 0x80;
    const std::uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (at(i) < low || at(i) > high) return {Utf8Head::Kind::kIllFormed, i};
  }
  return {Utf8Head::Kind::kCharacter, lead.length};
}

std::size_t AppendUtf8(std::string_view bytes, Replace replace, bool final, std::string* text) {
  std::size_t used = 0;
  while (used < bytes.size()) {
    const Utf8Head head = ReadUtf8(bytes.substr(used));
    if (head.kind == Utf8Head::Kind::kIncomplete && !final) break;
    if (head.kind == Utf8Head::Kind::kCharacter) {
      text->append(bytes.substr(used, head.length));
      used += head.length;
    } else {
      text->append(kReplacement);
      used += replace == Replace::kEachByte ? 1 : head.length;
    }
  }
  return used;
}

bool IsValidUtf8(std::string_view bytes) {
  for (std::size_t i = 0; i < bytes.size();) {
    const Utf8Head head = ReadUtf8(bytes.substr(i));
    if (head.kind != Utf8Head::Kind::kCharacter) return false;
    i += head.length;
  }
  return true;
}

}  // namespace skywork_rt
