# `cpack -G DEB`: what is installed, as a Debian package. It needs nothing, as the headers alone do; the libraries of the
# components are recommended, which apt installs by default.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libresnext-dev)
set(CPACK_PACKAGE_CONTACT "The resnext maintainers <resnext@localhost>")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "A header-only C++20 library: training and inference on the CPU.
 Cardinality and width of a network are template arguments.")

file(STRINGS ${CMAKE_CURRENT_LIST_DIR}/packages.sh packages REGEX "^library_packages=")
string(REGEX MATCHALL "[^ '()]+-dev" packages "${packages}")
list(JOIN packages ", " packages)
string(REPLACE "|" " | " CPACK_DEBIAN_PACKAGE_RECOMMENDS "${packages}")

# Debian has its own place and names for licence and changes.
set(debian_doc ${CMAKE_INSTALL_DATADIR}/doc/${CPACK_PACKAGE_NAME})
install(FILES LICENSE DESTINATION ${debian_doc} RENAME copyright COMPONENT debian EXCLUDE_FROM_ALL)
install(FILES CHANGELOG.md DESTINATION ${debian_doc} RENAME changelog COMPONENT debian EXCLUDE_FROM_ALL)
set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};resnext;Unspecified;/;${PROJECT_BINARY_DIR};resnext;debian;/")

include(CPack)
