# oneDNN by its header and its library: the target DNNL::dnnl and dnnl_VERSION.
#
# Debian's own CMake files for oneDNN 2.6 stop when OpenCL's development files are absent, which no program of ours needs.
# dnnl_ROOT, dnnl_DIR and CMAKE_PREFIX_PATH point to another installation, 2.x or 3.x.
find_path(dnnl_INCLUDE_DIR oneapi/dnnl/dnnl.hpp HINTS "${dnnl_DIR}/../../../include")
find_library(dnnl_LIBRARY dnnl HINTS "${dnnl_DIR}/../..")
mark_as_advanced(dnnl_INCLUDE_DIR dnnl_LIBRARY)

set(dnnl_VERSION "")
if(dnnl_INCLUDE_DIR)
  file(STRINGS "${dnnl_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h" dnnl_lines REGEX "#define DNNL_VERSION_[MP][A-Z]+ +[0-9]+")
  list(TRANSFORM dnnl_lines REPLACE ".* " "")
  list(JOIN dnnl_lines "." dnnl_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(dnnl REQUIRED_VARS dnnl_LIBRARY dnnl_INCLUDE_DIR VERSION_VAR dnnl_VERSION)
if(dnnl_FOUND AND NOT TARGET DNNL::dnnl)
  add_library(DNNL::dnnl UNKNOWN IMPORTED)
  set_target_properties(DNNL::dnnl PROPERTIES
    IMPORTED_LOCATION "${dnnl_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${dnnl_INCLUDE_DIR}")
endif()
