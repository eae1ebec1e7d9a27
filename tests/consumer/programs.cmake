# A program for each of COMPONENTS, beside the one that needs the headers alone. Warnings are errors here: to its consumers
# the library's headers are system headers, and it hands on no flag of its own but the language standard.
foreach(property IN ITEMS INTERFACE_COMPILE_OPTIONS INTERFACE_COMPILE_DEFINITIONS INTERFACE_LINK_OPTIONS)
  get_target_property(flags resnext::resnext ${property})
  if(flags)
    message(FATAL_ERROR "resnext::resnext hands on ${property} ${flags}")
  endif()
endforeach()

include(${CMAKE_CURRENT_LIST_DIR}/warnings.cmake)
enable_testing()
foreach(component IN ITEMS resnext LISTS COMPONENTS)
  add_executable(use_${component} ${CMAKE_CURRENT_LIST_DIR}/${component}.cpp)
  target_link_libraries(use_${component} PRIVATE resnext::${component})
  target_compile_options(use_${component} PRIVATE ${warnings})
  add_test(NAME ${component} COMMAND use_${component})
endforeach()
