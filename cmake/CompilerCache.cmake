# The builds of `make test` share most of what they compile, and so do the clones of one machine.
if(SKYWORK_RT_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(skywork_rt_ccache ccache)
  mark_as_advanced(skywork_rt_ccache)
  if(skywork_rt_ccache)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${skywork_rt_ccache}")
  endif()
endif()
