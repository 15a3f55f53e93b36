#pragma once

#include <sstream>
#include <string>

namespace skywork_rt {

/// Concatenates anything that streams, for messages: StrCat("top_p is ", 5.0, ", but must be in (0, 1]").
template <typename... Args>
std::string StrCat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

}  // namespace skywork_rt
