# One interface target that carries the chosen sanitizers to compiler and linker.
add_library(skywork_rt_sanitizers INTERFACE)
if(SKYWORK_RT_SANITIZE)
  set(flags -fsanitize=${SKYWORK_RT_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all -g1)
  target_compile_options(skywork_rt_sanitizers INTERFACE ${flags})
  target_link_options(skywork_rt_sanitizers INTERFACE -fsanitize=${SKYWORK_RT_SANITIZE})
endif()
