#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace skywork_rt::bindings {

/// Takes typed values out of a dict of options, strictly: a bool is no int, a str no float, nothing is truncated.
///
/// Reading a name that the dict lacks leaves the target at its default. `Finish` refuses the names that nobody read.
/// Throws Error(kInvalidArgument) that gives the option's name, its value and what it must be.
class OptionReader {
 public:
  /// `owner` names the whole in messages, such as "SamplingParams".
  OptionReader(pybind11::dict values, std::string owner);

  void Read(const char* name, bool* target);
  void Read(const char* name, int* target);
  void Read(const char* name, std::size_t* target);
  void Read(const char* name, float* target);
  void Read(const char* name, std::string* target);
  void Read(const char* name, std::optional<bool>* target);
  void Read(const char* name, std::optional<int>* target);
  void Read(const char* name, std::optional<std::uint64_t>* target);
  /// A list of int.
  void Read(const char* name, std::vector<std::int32_t>* target);
  /// A list of lists of int.
  void Read(const char* name, std::vector<std::vector<std::int32_t>>* target);
  /// A list of str, or one str.
  void Read(const char* name, std::vector<std::string>* target);
  /// A dict of int to float.
  void Read(const char* name, std::vector<std::pair<std::int32_t, float>>* target);

  void Finish() const;

 private:
  /// The value, or nothing when the dict lacks the name.
  std::optional<pybind11::object> Take(const char* name);
  std::int64_t Integer(const std::string& name, pybind11::handle value, std::int64_t least, std::int64_t most) const;
  double Real(const std::string& name, pybind11::handle value) const;
  std::string Text(const std::string& name, pybind11::handle value) const;
  std::vector<std::int32_t> Integers(const std::string& name, pybind11::handle value) const;
  [[noreturn]] void Refuse(const std::string& name, pybind11::handle value, const std::string& expected) const;

  pybind11::dict values_;
  std::string owner_;
  std::set<std::string> known_;
};

}  // namespace skywork_rt::bindings
