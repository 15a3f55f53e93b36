# One interface target that carries the warnings every target of ours compiles with.
add_library(skywork_rt_warnings INTERFACE)
target_compile_options(skywork_rt_warnings INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor
                                                     -Woverloaded-virtual -Wconversion -Wno-sign-conversion)
if(SKYWORK_RT_WERROR)
  target_compile_options(skywork_rt_warnings INTERFACE -Werror)
endif()
