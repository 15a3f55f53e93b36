# The headers of nlohmann-json: from the system's package, or from the header wheel of the same name, which
# pip installs for a build from source (pyproject.toml lists it).
find_package(nlohmann_json 3.10 QUIET)
if(NOT nlohmann_json_FOUND)
  find_package(Python3 COMPONENTS Interpreter REQUIRED)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c "import nlohmann_json, os; print(os.path.dirname(nlohmann_json.__file__))"
    OUTPUT_VARIABLE skywork_rt_json_dir OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE status ERROR_QUIET)
  if(NOT status EQUAL 0 OR NOT EXISTS "${skywork_rt_json_dir}/include/nlohmann/json.hpp")
    message(FATAL_ERROR "nlohmann-json was not found. Install Debian's nlohmann-json3-dev or 'pip install nlohmann-json'.")
  endif()
  add_library(nlohmann_json INTERFACE)
  target_include_directories(nlohmann_json SYSTEM INTERFACE "${skywork_rt_json_dir}/include")
  add_library(nlohmann_json::nlohmann_json ALIAS nlohmann_json)
endif()
