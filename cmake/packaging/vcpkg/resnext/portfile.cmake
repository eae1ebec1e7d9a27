# The sources are the tree that this overlay port is a part of.
cmake_path(SET SOURCE_PATH NORMALIZE "${CURRENT_PORT_DIR}/../../../..")

set(VCPKG_BUILD_TYPE release)  # headers
vcpkg_check_features(OUT_FEATURE_OPTIONS options FEATURES
  reference RESNEXT_REFERENCE
  cpu RESNEXT_CPU
  data RESNEXT_DATA)
vcpkg_cmake_configure(SOURCE_PATH "${SOURCE_PATH}"
  OPTIONS ${options} -DRESNEXT_TESTS=OFF -DRESNEXT_EXAMPLES=OFF -DRESNEXT_BENCHMARKS=OFF)
vcpkg_cmake_install()
vcpkg_cmake_config_fixup(CONFIG_PATH share/cmake/resnext)
file(MAKE_DIRECTORY "${CURRENT_PACKAGES_DIR}/lib")
file(RENAME "${CURRENT_PACKAGES_DIR}/share/pkgconfig" "${CURRENT_PACKAGES_DIR}/lib/pkgconfig")  # where vcpkg looks
vcpkg_fixup_pkgconfig()
vcpkg_install_copyright(FILE_LIST "${SOURCE_PATH}/LICENSE")
