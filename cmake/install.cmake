# The headers of a component that was not built are installed too: they cost nothing and name no library until included.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_DATADIR}/cmake/resnext)
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS resnext EXPORT resnext-headers)
install(EXPORT resnext-headers NAMESPACE resnext:: DESTINATION ${package_dir})
foreach(component IN LISTS installed)
  install(TARGETS resnext_${component} EXPORT resnext-${component})
  install(EXPORT resnext-${component} NAMESPACE resnext:: DESTINATION ${package_dir})
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/resnextConfig.cmake.in resnextConfig.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(resnextConfigVersion.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/resnextConfig.cmake ${CMAKE_CURRENT_BINARY_DIR}/resnextConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake ${CMAKE_CURRENT_LIST_DIR}/Finddnnl.cmake DESTINATION ${package_dir})

set(pkgconfig_dir ${CMAKE_INSTALL_DATADIR}/pkgconfig)
string(REGEX REPLACE "[^/]+" ".." to_prefix ${pkgconfig_dir})
configure_file(${CMAKE_CURRENT_LIST_DIR}/resnext.pc.in resnext.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/resnext.pc DESTINATION ${pkgconfig_dir})

install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/CHANGELOG.md DESTINATION ${CMAKE_INSTALL_DOCDIR}
  COMPONENT documentation)
