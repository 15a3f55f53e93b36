#include "bindings/option_reader.h"

#include <limits>

#include "skywork_rt/error.h"
#include "support/format.h"

namespace skywork_rt::bindings {
namespace py = pybind11;
namespace {

constexpr std::int64_t kLeastInt32 = std::numeric_limits<std::int32_t>::min();
constexpr std::int64_t kMostInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMostShown = 80;  // characters of a wrong value in a message

/// numpy's scalars are no subclasses of Python's; they are told by the names of their classes, so that numpy need not
/// be imported to look at an int.
bool HasTypeName(py::handle value, const char* name) {
  const auto type = py::type::handle_of(value);
  return py::str(type.attr("__name__")).cast<std::string>() == name;
}

bool IsBool(py::handle value) {
  return py::isinstance<py::bool_>(value) || HasTypeName(value, "bool_") || HasTypeName(value, "bool");
}

bool IsSequence(py::handle value) {
  return (PySequence_Check(value.ptr()) != 0) && !py::isinstance<py::str>(value) && !py::isinstance<py::bytes>(value);
}

std::string Shown(py::handle value) {
  std::string text = py::repr(value);
  if (text.size() > kMostShown) text = text.substr(0, kMostShown) + "...";
  return text;
}

}  // namespace

OptionReader::OptionReader(py::dict values, std::string owner) : values_(std::move(values)), owner_(std::move(owner)) {}

std::optional<py::object> OptionReader::Take(const char* name) {
  known_.insert(name);
  if (!values_.contains(name)) return std::nullopt;
  return py::reinterpret_borrow<py::object>(values_[name]);
}

void OptionReader::Refuse(const std::string& name, py::handle value, const std::string& expected) const {
  const std::string type = py::str(py::type::handle_of(value).attr("__name__"));
  throw Error(ErrorCode::kInvalidArgument,
              StrCat(owner_, ": ", name, " is ", Shown(value), " (", type, "), but must be ", expected));
}

std::int64_t OptionReader::Integer(const std::string& name, py::handle value, std::int64_t least,
                                   std::int64_t most) const {
  if (IsBool(value) || PyIndex_Check(value.ptr()) == 0) Refuse(name, value, "an int");
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value.ptr()));
  if (!index) {  // an array of several numbers has __index__, but none that works
    PyErr_Clear();
    Refuse(name, value, "an int");
  }
  int overflow = 0;
  const std::int64_t number = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
  if (overflow != 0 || number < least || number > most) {
    Refuse(name, value, StrCat("an int from ", least, " to ", most));
  }
  return number;
}

double OptionReader::Real(const std::string& name, py::handle value) const {
  const bool number = PyFloat_Check(value.ptr()) || PyIndex_Check(value.ptr()) != 0 || HasTypeName(value, "float32") ||
                      HasTypeName(value, "float16") || HasTypeName(value, "float64");
  if (IsBool(value) || !number) Refuse(name, value, "a float");
  const double real = PyFloat_AsDouble(value.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    Refuse(name, value, "a float");
  }
  return real;
}

std::string OptionReader::Text(const std::string& name, py::handle value) const {
  if (!py::isinstance<py::str>(value)) Refuse(name, value, "a str");
  Py_ssize_t size = 0;
  const char* utf8 = PyUnicode_AsUTF8AndSize(value.ptr(), &size);
  if (utf8 == nullptr) {  // a lone surrogate
    PyErr_Clear();
    Refuse(name, value, "a str that can be written as UTF-8");
  }
  return std::string(utf8, static_cast<std::size_t>(size));
}

std::vector<std::int32_t> OptionReader::Integers(const std::string& name, py::handle value) const {
  if (!IsSequence(value)) Refuse(name, value, "a list of int");
  std::vector<std::int32_t> numbers;
  for (const py::handle item : value) {
    numbers.push_back(
        static_cast<std::int32_t>(Integer(StrCat(name, "[", numbers.size(), "]"), item, kLeastInt32, kMostInt32)));
  }
  return numbers;
}

void OptionReader::Read(const char* name, bool* target) {
  const auto value = Take(name);
  if (!value) return;
  if (!IsBool(*value)) Refuse(name, *value, "True or False");
  *target = PyObject_IsTrue(value->ptr()) == 1;
}

void OptionReader::Read(const char* name, int* target) {
  if (const auto value = Take(name)) *target = static_cast<int>(Integer(name, *value, kLeastInt32, kMostInt32));
}

void OptionReader::Read(const char* name, std::size_t* target) {
  if (const auto value = Take(name)) {
    *target = static_cast<std::size_t>(Integer(name, *value, 0, std::numeric_limits<std::int64_t>::max()));
  }
}

void OptionReader::Read(const char* name, float* target) {
  if (const auto value = Take(name)) *target = static_cast<float>(Real(name, *value));
}

void OptionReader::Read(const char* name, std::string* target) {
  if (const auto value = Take(name)) *target = Text(name, *value);
}

void OptionReader::Read(const char* name, std::optional<bool>* target) {
  const auto value = Take(name);
  if (!value) return;
  target->reset();
  if (value->is_none()) return;
  if (!IsBool(*value)) Refuse(name, *value, "True, False or None");
  *target = PyObject_IsTrue(value->ptr()) == 1;
}

void OptionReader::Read(const char* name, std::optional<int>* target) {
  const auto value = Take(name);
  if (!value) return;
  target->reset();
  if (!value->is_none()) *target = static_cast<int>(Integer(name, *value, kLeastInt32, kMostInt32));
}

void OptionReader::Read(const char* name, std::optional<std::uint64_t>* target) {
  const auto value = Take(name);
  if (!value) return;
  target->reset();
  if (value->is_none()) return;
  if (IsBool(*value) || PyIndex_Check(value->ptr()) == 0) Refuse(name, *value, "an int from 0 to 2**64 - 1");
  const auto index = py::reinterpret_steal<py::object>(PyNumber_Index(value->ptr()));
  const std::uint64_t number = index ? PyLong_AsUnsignedLongLong(index.ptr()) : 0;
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    Refuse(name, *value, "an int from 0 to 2**64 - 1");
  }
  *target = number;
}

void OptionReader::Read(const char* name, std::vector<std::int32_t>* target) {
  if (const auto value = Take(name)) *target = Integers(name, *value);
}

void OptionReader::Read(const char* name, std::vector<std::vector<std::int32_t>>* target) {
  const auto value = Take(name);
  if (!value) return;
  if (!IsSequence(*value)) Refuse(name, *value, "a list of lists of int");
  target->clear();
  for (const py::handle item : *value) target->push_back(Integers(StrCat(name, "[", target->size(), "]"), item));
}

void OptionReader::Read(const char* name, std::vector<std::string>* target) {
  const auto value = Take(name);
  if (!value) return;
  target->clear();
  if (py::isinstance<py::str>(*value)) {
    target->push_back(Text(name, *value));
    return;
  }
  if (!IsSequence(*value)) Refuse(name, *value, "a str or a list of str");
  for (const py::handle item : *value) target->push_back(Text(StrCat(name, "[", target->size(), "]"), item));
}

void OptionReader::Read(const char* name, std::vector<std::pair<std::int32_t, float>>* target) {
  const auto value = Take(name);
  if (!value) return;
  if (!py::isinstance<py::dict>(*value)) Refuse(name, *value, "a dict of token id to float");
  target->clear();
  for (const auto& [key, bias] : py::reinterpret_borrow<py::dict>(*value)) {
    const auto token = Integer(StrCat("a key of ", name), key, kLeastInt32, kMostInt32);
    target->emplace_back(static_cast<std::int32_t>(token),
                         static_cast<float>(Real(StrCat(name, "[", token, "]"), bias)));
  }
}

void OptionReader::Finish() const {
  for (const auto& [key, value] : values_) {
    const std::string name = py::str(key);
    if (known_.count(name) == 0) {
      throw Error(ErrorCode::kInvalidArgument, StrCat(owner_, ": there is no option '", name, "'"));
    }
  }
}

}  // namespace skywork_rt::bindings
