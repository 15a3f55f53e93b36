# One layout for `cmake --install` and for the wheel, whose package directory is an installation prefix:
# lib/libskywork_rt.so, lib/backends/, include/, lib/cmake/skywork_rt/.
include(CMakePackageConfigHelpers)

install(TARGETS skywork_rt EXPORT skywork_rt-targets LIBRARY DESTINATION lib)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/csrc/include/" DESTINATION include)
install(EXPORT skywork_rt-targets NAMESPACE skywork_rt:: DESTINATION lib/cmake/skywork_rt)
configure_package_config_file("${PROJECT_SOURCE_DIR}/cmake/skywork_rt-config.cmake.in"
                              "${PROJECT_BINARY_DIR}/skywork_rt-config.cmake" INSTALL_DESTINATION lib/cmake/skywork_rt)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/skywork_rt-config-version.cmake" COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/skywork_rt-config.cmake" "${PROJECT_BINARY_DIR}/skywork_rt-config-version.cmake"
        DESTINATION lib/cmake/skywork_rt)
