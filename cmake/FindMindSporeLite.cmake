# Finds MindSpore Lite: the user's own (environment variable LITE_HOME: an unpacked official tarball, 2.2 or later), or
# the registry's wheel, which is prepared in the cache of skywork_rt (SKYWORK_RT_CACHE) when it is not there yet.
#
#   MindSporeLite::MindSporeLite   headers and the library that has the C++ API
#   MindSporeLite_VERSION          of the library
#   MindSporeLite_ORIGIN           "cache" or "LITE_HOME"
#   MindSporeLite_RELEASE          name of the prepared directory below <cache>/lite; empty for LITE_HOME
#   MindSporeLite_LIBRARY_DIR      where the library is, for the run path of programs of the build tree
find_package(Python3 3.9 COMPONENTS Interpreter REQUIRED)

execute_process(
  COMMAND "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_LIST_DIR}/prepare_lite.py"
  OUTPUT_VARIABLE skywork_rt_lite_answer RESULT_VARIABLE skywork_rt_lite_status)
if(NOT skywork_rt_lite_status EQUAL 0)
  set(skywork_rt_lite_reason "it could not be prepared (see above); -DSKYWORK_RT_LITE=OFF builds without it")
else()
  foreach(field library lib_dir include_dirs library_dirs version origin release)
    string(JSON skywork_rt_lite_${field} GET "${skywork_rt_lite_answer}" ${field})
  endforeach()
  set(MindSporeLite_LIBRARY "${skywork_rt_lite_library}")
  set(MindSporeLite_LIBRARY_DIR "${skywork_rt_lite_lib_dir}")
  set(MindSporeLite_VERSION "${skywork_rt_lite_version}")
  set(MindSporeLite_ORIGIN "${skywork_rt_lite_origin}")
  set(MindSporeLite_RELEASE "${skywork_rt_lite_release}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(MindSporeLite
  REQUIRED_VARS MindSporeLite_LIBRARY VERSION_VAR MindSporeLite_VERSION
  REASON_FAILURE_MESSAGE "${skywork_rt_lite_reason}")

if(MindSporeLite_FOUND AND NOT TARGET MindSporeLite::MindSporeLite)
  add_library(MindSporeLite::MindSporeLite SHARED IMPORTED)
  set_target_properties(MindSporeLite::MindSporeLite PROPERTIES
    IMPORTED_LOCATION "${MindSporeLite_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${skywork_rt_lite_include_dirs}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${skywork_rt_lite_include_dirs}")
  # The libraries carry no run path: the linker is told where those that the main one needs are.
  foreach(directory IN LISTS skywork_rt_lite_library_dirs)
    target_link_options(MindSporeLite::MindSporeLite INTERFACE "LINKER:-rpath-link,${directory}")
  endforeach()
endif()
